"""Speed and memory benchmarks. Each figure is compared with a baseline of the same run."""
