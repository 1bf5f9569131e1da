"""The paper's Table 1: the throughput of LongLive and of the systems that it is compared with."""
