"""The stress suite: any judge, in worlds that break what a judge may assume."""
