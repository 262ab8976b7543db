"""What is searched: component graphs, patching, attribution, circuits."""
