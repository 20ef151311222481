--[[
  What a worker's completed step leaves besides its record: no saved cursor, and the sandbox as it changed it, for the
  next one that waits for it; and its places for others. Returns the fields of the plan that go with it, for plan_settle.
]]
local function completion_record(T, P, plan, step, p, r, writer, output, checkpoint, saved, snapshot, now, cache)
  if snapshot ~= '' then p.sandbox = str(call('RPUSH', P .. ':sandboxes', snapshot)) end
  local fields = step_record(P, plan, step, p, writer, output, checkpoint, '', now)
  if saved ~= '' then call('HDEL', P .. ':saved', step) end
  if p.sandbox then
    fields[5], fields[6] = 'sandbox', p.sandbox
    cache.queued = {}
    if not writer.as and string.find(r.traits, 'w', 1, true) then
      fields[7], fields[8], fields[9], fields[10] = 'files_at', token_worker(writer.token), 'files_passed', '0'
    end
  end
  attempt_leave(T, r, job_id(plan, step, p.epoch), now)
  turn_leave(T, P, plan, p, step, r, cache)
  return fields
end
