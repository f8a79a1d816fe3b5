-- What there is to know of a lock.  Writes nothing: it works on a replica, too.
--
-- ARGV  1 how many of those who wait are to be told of, at most
--
-- Returns JSON: {state, kind, left_ms, value, token, holders, waiting, waiters,
-- cooldown}, as cflockctl(1) describes it.  left_ms: -1 without an end.  Whatever
-- may be missing is missing.

local value = call('GET', LOCK)
local answer = {state = 'free', waiting = call('ZCARD', LINE)}
local records = call('HGETALL', HOLDERS)

read_clock()

local function describe(id, record, into)
	into.id = cut(id)
	for _, field in ipairs({'host', 'pid', 'user', 'command', 'message', 'kind'}) do
		into[field] = record[field] and cut(record[field])
	end
	into.since_ms = record.since
	return into
end

local function holders()
	local list = {}

	for i = 1, #records, 2 do
		local id, holder = records[i], cjson.decode(records[i + 1])
		local left = call('PTTL', lease_key(id, holder))

		if left ~= -2 and (holder.kind ~= 'exclusive' or
			value == id .. '/' .. holder.token) then
			table.insert(list, describe(id, holder, {
				token = holder.token,
				left_ms = left,
				starts_in_ms = not holder.started and holder.from > now and
					holder.from - now or nil,
			}))
		end
	end
	table.sort(list, function(a, b) return (a.since_ms or 0) < (b.since_ms or 0) end)
	return list
end

if value then
	local list = holders()

	answer.state = #list > 0 and 'held' or 'foreign'
	answer.left_ms = call('PTTL', LOCK)
	answer.value = cut(value)
	answer.holders = #list > 0 and list or nil
	answer.kind = #list > 0 and list[1].kind or nil
end

local token = call('GET', TOKEN)
answer.token = token and cut(token)

local waiters = {}
for place, id in ipairs(call('ZRANGE', LINE, 0, ARGV[1] - 1)) do
	local record = call('HGET', WAITERS, id)
	local beat = tonumber(call('ZSCORE', BEATS, id) or nil)

	table.insert(waiters, describe(id, record and cjson.decode(record) or {}, {
		place = place,
		silent_ms = beat and math.max(0, now - beat) or nil,
	}))
end
answer.waiters = #waiters > 0 and waiters or nil

local cooling = call('GET', COOLDOWN)
if cooling then
	answer.cooldown = {id = cut(cooling), left_ms = call('PTTL', COOLDOWN)}
end
return cjson.encode(answer)
