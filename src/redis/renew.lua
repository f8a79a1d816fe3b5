-- Extends a lease that is still its holder's own.
--
-- ARGV  1 id   2 token   3 ttl in ms
--
-- Returns {1, who has asked it to end or '', which asking that is or ''}, or {0, value of the lock or '', 1 if it was taken over}.

local id, token, ttl = ARGV[1], ARGV[2], ARGV[3] + 1
local value = call('GET', LOCK)
local record = call('HGET', HOLDERS, id)
local mine = record and cjson.decode(record)

if not value or not mine or mine.token ~= token or not mine.started or
	value ~= (mine.kind == 'exclusive' and id .. '/' .. token or mine.kind) or
	call('PEXPIRE', lease_key(id, mine), ttl) == 0 then
	local successor = value and
		call('HEXISTS', HOLDERS, string.match(value, '^[^/]*'))
	return {0, cut(value), successor or 0}
end

-- Beside other holders, the lock lasts as long as the last of them.
local left = math.max(call('PTTL', LOCK), ttl)
call('PEXPIRE', LOCK, left)
call('PEXPIRE', HOLDERS, left)
local asking, who = string.match(call('GET', stop_key(id)) or '', '^(%S+) (.*)')
return {1, cut(who), cut(asking)}
