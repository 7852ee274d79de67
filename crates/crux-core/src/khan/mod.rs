//! Khan: the small language for "how many, where, after what".
