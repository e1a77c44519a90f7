"""Numbers that keep their promise: outward rounding, norms, boxes, upper and lower bounds."""
