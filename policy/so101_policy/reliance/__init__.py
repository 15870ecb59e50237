"""so101-reliance: does a policy use its cameras?"""
