"""What `capivara filter` judges by: scores, rules for texts and images, selection within a sample and over a corpus."""
