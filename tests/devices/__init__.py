"""Microphone, speaker, conversation, pictures: everything that has a device at its end, without any hardware."""
