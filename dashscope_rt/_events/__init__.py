"""The parts of `dashscope_rt.events`, which gives them to the public: one file for each group of wire types."""
