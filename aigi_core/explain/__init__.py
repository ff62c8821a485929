"""What detectors, heads and images say in words, each saying beside what chance would say."""
