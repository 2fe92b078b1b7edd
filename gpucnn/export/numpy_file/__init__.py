"""What a written predictor is made of: functions of NumPy alone, each of which works here as it does there.

Lines have at most 88 columns, so that a formatter with its usual settings leaves the written file as it is.
"""
