"""The demonstration: a small company, its agents as scripts without a language model, and eight scenes.

The agents talk REST like any agent; nothing here reaches around the doors. The end-to-end tests play the
same scenes and decide in people's place.
"""
