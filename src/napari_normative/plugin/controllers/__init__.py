"""What the docks' requests do. No Qt: work goes to a runner, results come back as layers."""
