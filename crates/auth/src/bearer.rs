//! Bearer tokens: who issued them, whether they hold, and which data actions they grant.
