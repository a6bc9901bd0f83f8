-- The arithmetic of src/algorithm on the server, for all limits of one request: one step, one round trip.
--
-- KEYS[1]  the caller's states: "1 60000000|at used before;…", each with what it is a state of. Those of rules that this
--          instance does not have stay: while a new configuration is rolled out, others still have them
-- ARGV[1]  microseconds since the epoch; empty for the server's own time
-- ARGV[2]  take: if all have room. peek: take nothing. force: take in any case. lease: take as much as there is
-- ARGV[3]  the cost; may be negative with force
-- ARGV[4]  what each rule is owed from when nobody could ask: "0 3", or empty
-- ARGV[5…] the rules: "algorithm count period burst unit drain full slices slice",
--          or of a quota "6 count period" and where its periods begin; last, of a penalty "7 0 period"
--
-- Answers with what was taken, the time, and for each rule: 0 allow, 1 delay or 2 refuse; how long to wait; until it
-- is whole; what remains.
local CAP, MOST, U32 = 4503599627370496, 4294967296, 4294967295
local floor, min, max = math.floor, math.min, math.max
local GCRA, TOKENS, FIXED, SLIDING, LEAKY, QUOTA, PENALTY = 1, 2, 3, 4, 5, 6, 7

local function numbers(text)
  local list = {}
  for number in string.gmatch(text, '%-?%d+') do list[#list + 1] = tonumber(number) end
  return list
end

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local mode, cost, owed = ARGV[2], tonumber(ARGV[3]), numbers(ARGV[4])

local rules, penalty = {}, nil
for i = 5, #ARGV do
  local n = numbers(ARGV[i])
  local rule = { algorithm = n[1], count = n[2], period = n[3], burst = n[4], unit = n[5], drain = n[6],
    full = n[7], slices = n[8], slice = n[9] }
  if rule.algorithm == QUOTA then
    -- The instance's clock may be a little off: the period is chosen by this one.
    local from = 4
    while from + 1 < #n and now >= n[from + 1] do from = from + 1 end
    rule.start, rule.stop = n[from], n[from + 1] or n[from]
  end
  -- States of the same algorithm and period mean the same, whatever the count; of a bucket of tokens, if it is counted
  -- in the same units.
  local algorithm, period = string.match(ARGV[i], '^(%d+) %d+ (%d+)')
  rule.tag = algorithm .. ' ' .. period
  if rule.algorithm == TOKENS then rule.tag = rule.tag .. string.format(' %.0f', rule.drain) end
  if rule.algorithm == PENALTY then
    penalty, rule.tag = rule, algorithm
  else
    rules[#rules + 1] = rule
  end
end

local function div_up(a, b) return floor((a + b - 1) / b) end

local function units(rule, amount) return min(amount, floor(CAP / rule.unit)) * rule.unit end

local function add(count, change)
  if change < 0 then return max(count - min(-change, MOST), 0) end
  return min(count + min(change, MOST), MOST)
end

local function debt(rule, s)
  if rule.algorithm == TOKENS then
    local missing = min(s.used, CAP)
    local elapsed = min(max(now - s.at, 0), floor(missing / rule.drain) + 1)
    return max(missing - elapsed * rule.drain, 0)
  end
  if s.at < now then return 0 end
  return min((s.at - now) * rule.drain + s.used, CAP)
end

local function window(rule, s)
  if rule.algorithm == QUOTA then
    return rule.start, s.at == rule.start and s.used or 0, max(rule.stop - now, 0)
  end
  if s.used == 0 or now >= s.at + rule.period then return now, 0, rule.period end
  return s.at, s.used, rule.period - max(now - s.at, 0)
end

local function windows(rule, s)
  local start = now - now % rule.period
  if s.at >= start then return start, s.used, s.before end
  if s.at + rule.period >= start then return start, 0, s.used end
  return start, 0, 0
end

local function admit(rule, owing, amount)
  local total = owing + units(rule, min(amount, rule.burst + 1))
  if total > rule.full then
    return 2, div_up(total - rule.full, rule.drain), div_up(owing, rule.drain), 0
  end
  return 0, 0, div_up(total, rule.drain), min(floor((rule.full - total) / rule.unit), U32)
end

local function decide(rule, s, amount)
  local algorithm = rule.algorithm
  if algorithm == GCRA or algorithm == TOKENS then return admit(rule, debt(rule, s), amount) end
  if algorithm == LEAKY then
    local ahead = debt(rule, s)
    local kind, wait, reset, remaining = admit(rule, ahead, amount)
    if kind == 0 and ahead > 0 and amount > 0 then return 1, div_up(ahead, rule.drain), reset, remaining end
    return kind, wait, reset, remaining
  end
  if algorithm == FIXED or algorithm == QUOTA then
    local _, used, left = window(rule, s)
    local total = used + amount
    if total > rule.count then return 2, left, left, 0 end
    return 0, 0, total == 0 and 0 or left, min(rule.count - total, U32)
  end
  local start, used, before = windows(rule, s)
  local n = rule.slices
  local left = n - min(floor((now - start) / rule.slice), n)
  local total, whole = before * left + (used + amount) * n, rule.count * n
  local rest = rule.period - (now - start)
  if total <= whole then
    local reset = 0
    if used + amount > 0 then reset = rest + rule.period elseif before > 0 then reset = rest end
    return 0, 0, reset, min(floor((whole - total) / n), U32)
  end
  local function slid(old, room) return (n - min(floor(room * n / max(old, 1)), n)) * rule.slice end
  local wait
  if used + amount <= rule.count then
    wait = max(min(slid(before, rule.count - used - amount), rule.period) - (now - start), 0)
  elseif amount <= rule.count then
    wait = rest + min(slid(used, rule.count - amount), rule.period)
  else
    wait = rest + rule.period
  end
  return 2, max(wait, 1), used > 0 and rest + rule.period or rest, 0
end

local function take(rule, s, amount)
  local algorithm = rule.algorithm
  if algorithm == FIXED or algorithm == QUOTA then
    local at, used = window(rule, s)
    return { at = at, used = add(used, amount), before = 0 }
  end
  if algorithm == SLIDING then
    local at, used, before = windows(rule, s)
    return { at = at, used = add(used, amount), before = before }
  end
  local owing = debt(rule, s)
  if amount < 0 then
    owing = max(owing - units(rule, -amount), 0)
  else
    owing = min(owing + units(rule, amount), CAP)
  end
  if algorithm == TOKENS then return { at = now, used = owing, before = 0 } end
  return { at = now + floor(owing / rule.drain), used = owing % rule.drain, before = 0 }
end

local stored = redis.call('GET', KEYS[1])
local kept = {}
for tag, text in string.gmatch(stored or '', '([%d ]+)|([%d ]+)') do
  local n = numbers(text)
  if #n == 3 then kept[#kept + 1] = { tag = tag, text = text, at = n[1], used = n[2], before = n[3] } end
end
local function state_of(rule)
  for i, one in ipairs(kept) do
    if one.tag == rule.tag then return table.remove(kept, i) end
  end
  return { at = 0, used = 0, before = 0 }
end
local states = {}
-- Until when all is refused.
local held = penalty and state_of(penalty).at or 0
for i = 1, #rules do
  states[i] = state_of(rules[i])
  if owed[i] and owed[i] > 0 then states[i] = take(rules[i], states[i], owed[i]) end
end

local taken, refused = cost, false
if mode == 'lease' then
  for i, rule in ipairs(rules) do
    local kind, _, _, remaining = decide(rule, states[i], 0)
    taken = min(taken, kind == 2 and 0 or remaining)
  end
else
  for i, rule in ipairs(rules) do refused = refused or decide(rule, states[i], cost) == 2 end
  if penalty and mode ~= 'force' then
    if refused and held <= now then held = now + penalty.period end
    refused = refused or held > now
  end
  if mode == 'peek' or (mode == 'take' and refused) then taken = 0 end
end

local answer = { taken, now }
local function tell(i, asked, there)
  local kind, wait, reset, remaining = decide(rules[i], states[i], asked)
  if there and kind ~= 2 then kind, wait, reset, remaining = decide(rules[i], states[i], 0) end
  if kind == 2 then remaining = select(4, decide(rules[i], states[i], 0)) end
  if there and held > now then
    local left = held - now
    kind, wait, reset, remaining = 2, max(kind == 2 and wait or 0, left), max(reset, left), 0
  end
  for _, number in ipairs({ kind, wait, reset, remaining }) do answer[#answer + 1] = number end
end

-- What is told of a request is how things stand with it; of a share or a settlement, how they stand after.
if mode == 'take' or mode == 'peek' then
  for i = 1, #rules do tell(i, cost, refused) end
end
if taken ~= 0 then
  for i, rule in ipairs(rules) do states[i] = take(rule, states[i], taken) end
end
if mode == 'lease' then
  for i = 1, #rules do tell(i, 1, false) end
elseif mode == 'force' then
  for i = 1, #rules do tell(i, 0, false) end
end

-- Kept until all is whole again, and never without an end.
local longest, texts = 0, {}
for i, rule in ipairs(rules) do
  local _, _, reset = decide(rule, states[i], 0)
  longest = max(longest, reset)
  texts[i] = string.format('%s|%.0f %.0f %.0f', rule.tag, states[i].at, states[i].used, states[i].before)
end
if penalty then
  if held < now then held = 0 end
  longest = max(longest, held - now)
  texts[#texts + 1] = string.format('%s|%.0f 0 0', penalty.tag, held)
end
local keep = longest > 0 and div_up(longest, 1000) + 1000 or 0
if #kept > 0 then
  keep = max(keep, redis.call('PTTL', KEYS[1]))
  for i = 1, min(#kept, 8) do texts[#texts + 1] = kept[i].tag .. '|' .. kept[i].text end
end
if keep > 0 then
  redis.call('SET', KEYS[1], table.concat(texts, ';'), 'PX', string.format('%.0f', keep))
elseif stored then
  redis.call('DEL', KEYS[1])
end
return answer
