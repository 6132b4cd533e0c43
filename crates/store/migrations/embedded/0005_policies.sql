-- Policies can be changed by two people at once: each has an etag, drawn from the counter 'policy' of table hub.
ALTER TABLE policy ADD COLUMN etag INTEGER NOT NULL DEFAULT 0;
