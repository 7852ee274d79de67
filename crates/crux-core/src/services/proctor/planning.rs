//! From everything that is seen to the content of a plan.
