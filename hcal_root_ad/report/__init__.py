"""From records of verdicts to pages for people: one self-contained HTML file, verdict first."""
