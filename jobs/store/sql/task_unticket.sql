-- These tickets never reached Redis.
UPDATE task SET ticket = 0 WHERE id = ANY(%(ids)s::uuid[]) AND state + 0 = 1
