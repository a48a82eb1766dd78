"""The real code of core and stages in a simulated world: virtual time, a simulated broker, a seed that decides all."""
