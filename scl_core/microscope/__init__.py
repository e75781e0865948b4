"""The method taken apart for whoever looks: built on what training uses, and used by the app alone.

`dissect` takes one pair of pictures apart, `pair_study` its sampled pairs, `replay` the step that training took,
`insides` what the other methods hold, `health` checks a run, `lesson` walks a beginner through the method.
"""
