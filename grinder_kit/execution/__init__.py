"""From decisions to orders and back: the engine, own orders, the books that fills are kept in."""
