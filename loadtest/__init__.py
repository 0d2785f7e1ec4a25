"""Load: how fast and how small flashq is, beside beanstalkd and a bare echo in the same run; and whether it loses.

python -m loadtest           measures and prints a table with targets
python -m loadtest crash     kills shards, the router and everything under load, and checks what clients saw
"""
