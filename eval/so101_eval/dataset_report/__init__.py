"""`so101-data check`: a dataset, judged and drawn."""
