"""What is measured, with its peers, by one command: `make bench`, or `python -m benchmarks NAME`.

Each benchmark prints ratios against a named peer taken in the same run, beside aim and floor, and updates its rows in
`results.json`. Machines are shared and noisy: believe medians and ratios.
"""
