"""What ``filter`` decides by: scores, rules, and whole-corpus shares."""
