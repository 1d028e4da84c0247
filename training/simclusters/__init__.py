"""SimClusters: communities of producers, and everything else as a vector over them."""
