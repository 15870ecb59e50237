"""Does a camera stand where it stood when the data were recorded?"""
