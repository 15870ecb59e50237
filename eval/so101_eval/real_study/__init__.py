"""so101-bench: a blinded, randomised comparison of policies on a real arm (docs/compare_on_your_arm.md)."""
