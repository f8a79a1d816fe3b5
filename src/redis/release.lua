-- Ends the lease of an id, whatever its token; the token's key stays.
--
-- KEYS  1 the lock   2 the holder, for people
-- ARGV  1 id
--
-- Returns 1, or 0 when that id held nothing.

local held = redis.call('GET', KEYS[1])
local mine = ARGV[1] .. '/'

if not held or string.sub(held, 1, #mine) ~= mine then
	return 0
end
redis.call('DEL', KEYS[1], KEYS[2])
return 1
