"""Certify: which lumisections of many runs are good, by a written policy; judged once, resumed, on many workers."""
