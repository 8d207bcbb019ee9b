"""The parts of `dashscope_rt.codec`: strict JSON, and how each model family spells a configuration."""
