"""The parts of `dashscope_rt.config`, which gives them to the public: the rules values are checked by, and what they make."""
