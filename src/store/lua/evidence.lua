--[[
  Reads everything that is stored of a plan, its jobs included, in one consistent moment and without a write.

  KEYS and ARGV[1…5]: see view.lua, with "line" as ARGV[3]   ARGV[6] plan
  ARGV[7] how long a list of a queue may be to be looked through   ARGV[8] first epoch whose jobs are looked for
  ARGV[9] number of queues, then queues …   steps and queues that their jobs may be in: step, queue …

  Returns false where there is no such plan, else
  { what view.lua returns, places: { failed, waiting, uncertain, holder, pausing, undone, in the index, in that of open plans },
    HGETALL choices, HGETALL needs, lanes: { name, how many steps are counted in its queue, how many are, backlog } …, exclusive,
    what limits don't know of: { step, waits or runs, limit } …, found: queue, job, list, 1 where it exists, 1 where its holder knows of it …,
    queues that are too long, existing: queue, job …, registered workers }
]]
--#include view-read.lua
local plan, most, first_epoch = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local first_step = 10 + tonumber(ARGV[9])
local found, unseen, existing, registered = {}, {}, {}, {}

local lanes, by_name = {}, {}

local function lane(name)
  if not by_name[name] then
    by_name[name] = { name, '0', 0, call('LRANGE', P .. ':backlog:' .. name, '0', '-1') }
    lanes[#lanes + 1] = by_name[name]
  end
  return by_name[name]
end

local counted = call('HGETALL', P .. ':queued')
for i = 1, #counted, 2 do lane(counted[i])[2] = counted[i + 1] end
for i = 2, #open, 2 do
  local r = open_decode(open[i])
  if r then
    local its = lane(lane_of(r))
    if r.at == '' and string.find('qdlk', r.state, 1, true) then its[3] = its[3] + 1 end
  end
end

-- What steps say of their limits, and limits don't know: step, waits or runs, limit …
local unlimited = {}
for i = 1, #open, 2 do
  local r = open_decode(open[i + 1])
  if r and r.limits ~= '' then
    local step, key, rate = open[i], place_of(r), rate_of(r)
    local L = r.state == 'l' and 'limit:' .. key or r.state == 'k' and 'rate:' .. rate
    if L and not (call('LPOS', T .. L .. ':of:' .. plan, step) and call('ZSCORE', T .. L .. ':turns', plan)) then
      unlimited[#unlimited + 1] = { step, 'waits', L }
    elseif key and r.state == 'r' and call('HEXISTS', T .. 'limit:' .. key .. ':held', plan .. '/' .. step .. '/' .. field['epoch']) == 0 then
      unlimited[#unlimited + 1] = { step, 'runs', 'limit:' .. key }
    end
  end
end

local function owned(queue, id)
  local token = call('GET', T .. queue .. ':' .. id .. ':lock')
  local worker = token and string.match(token, '^([^.]+)')
  return worker and call('ZSCORE', KEYS[2], worker) and call('HGET', T .. 'worker:' .. worker .. ':own', token) == queue .. ' ' .. id
end

local function look(queue, place, ids)
  for _, id in ipairs(ids) do
    if string.sub(id, 1, #plan + 1) == plan .. '/' then
      local exists = call('EXISTS', T .. queue .. ':' .. id) == 1
      for _, fact in ipairs({ queue, id, place, exists and '1' or '', owned(queue, id) and '1' or '' }) do found[#found + 1] = fact end
    end
  end
end

for i = 10, first_step - 1 do
  local queue = ARGV[i]
  local q = T .. queue .. ':'
  local longest = math.max(call('LLEN', q .. 'wait'), call('LLEN', q .. 'active'), call('ZCARD', q .. 'delayed'), call('ZCARD', q .. 'prioritized'))
  if longest > most then
    unseen[#unseen + 1] = queue
  else
    look(queue, 'wait', call('LRANGE', q .. 'wait', '0', '-1'))
    look(queue, 'wait', call('ZRANGE', q .. 'prioritized', '0', '-1'))
    look(queue, 'active', call('LRANGE', q .. 'active', '0', '-1'))
    look(queue, 'delayed', call('ZRANGE', q .. 'delayed', '0', '-1'))
  end
end
for i = first_step, #ARGV, 2 do
  for epoch = first_epoch, tonumber(field['epoch'] or 0) do
    local id = string.format('%s/%s/%d', plan, ARGV[i], epoch)
    if call('EXISTS', T .. ARGV[i + 1] .. ':' .. id, T .. ARGV[i + 1] .. ':' .. id .. ':lock') > 0 then
      existing[#existing + 1], existing[#existing + 2] = ARGV[i + 1], id
    end
  end
end
for worker in pairs(seen) do
  if call('ZSCORE', KEYS[2], worker) then registered[#registered + 1] = worker end
end
return { view_reply,
  { field['failed'] or '0', field['waiting'] or '0', field['uncertain'] or '0', field['holder'] or '', field['pausing'] or '', field['undone'] or '0',
    call('ZSCORE', T .. 'plans', plan) and '1' or '', call('ZSCORE', T .. 'plans:open', plan) and '1' or '' },
  call('HGETALL', P .. ':choices'), call('HGETALL', P .. ':needs'), lanes,
  call('LRANGE', P .. ':exclusive', '0', '-1'), unlimited, found, unseen, existing, registered }
