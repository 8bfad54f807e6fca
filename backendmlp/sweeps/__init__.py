"""Many runs that differ in what is chosen: which they are, how they run, what they come to."""
