//! Screens: how the usual ones are connected.
