-- Has holders end: asks them to, or fences them off.
--
-- ARGV  1 "ask" or "force"
--       2 ids, separated by blanks, of the holders that are meant
--       3 who wants it, for people
--       4 ask: ms for which that is to be told to them, at least
--       5 ask: which asking this is, without blanks: each is told once
--       6 ask: how often a holder renews until its lease counts as lost
--
-- "ask" is told to each with its renewals, which go on.  "force": no renewal of
-- theirs succeeds any more, and the lock stays shut until all of their leases are
-- over.  It is for all holders, or none: who has come meanwhile is not meant.
--
-- Returns {how many were asked or fenced off, ms}.  ms, of "force": until their
-- leases are over; of "ask": until all that can be reached have been told.

local how, who = ARGV[1], ARGV[3]
local held = read_holders()
local meant, count, ends, told = {}, 0, now, now

for id in string.gmatch(ARGV[2], '%S+') do
	meant[id] = true
end

if how == 'ask' then
	for id, holder in pairs(held) do
		if meant[id] then
			-- It may not renew before the most of that is over.
			call('SET', stop_key(id), ARGV[5] .. ' ' .. who, 'PX',
				math.max(tonumber(ARGV[4]), holder.ends - now))
			count = count + 1
			-- Of what was left when its lease began, without `spare`, it
			-- renews after so great a part; less is left by now.
			local begun = math.max(now, holder.started and now or holder.from)
			told = math.max(told,
				begun + (holder.ends - begun - (holder.spare or 0)) / ARGV[6])
		end
	end
	return {count, math.ceil(told - now)}
end

for id, holder in pairs(held) do
	if not meant[id] then
		return {0, 0}
	end
	count = count + 1
	-- What was taken over may run until then, whatever has become of the taker.
	ends = math.max(ends, holder.started and holder.ends or holder.from)
end
if count == 0 then
	return {0, 0}
end
for id, holder in pairs(held) do
	drop_holder(id, holder)
end
call('DEL', HOLDERS)
call('SET', LOCK, 'broken by ' .. who, 'PX', math.max(1, ends - now))
return {count, ends - now}
