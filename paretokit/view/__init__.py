"""What people look at: figures, tables and pages, each drawn from plain values that were computed first.

The only floor that imports plotly; nothing below it imports `view`.
"""
