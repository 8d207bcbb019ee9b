"""The parts of `dashscope_rt.config`, which gives them to the public: rules for values, and what is made of them."""
