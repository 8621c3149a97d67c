"""From fields to scored cells and samples: detection, tables, folders, shards, explanations, twins."""
