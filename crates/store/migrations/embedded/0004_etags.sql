-- Etags of identities are drawn from the counter of generations. Before this format each identity counted
-- its own, so some may be ahead of it.
UPDATE hub SET value = max(value, (SELECT coalesce(max(etag), 0) FROM identity))
WHERE name = 'generation';
