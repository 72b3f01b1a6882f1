"""Do looks at a slice and at its volume mean the same place?"""
