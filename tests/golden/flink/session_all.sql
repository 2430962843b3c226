SELECT SESSION_START(ts, INTERVAL '3' SECOND) AS w_start, SESSION_END(ts, INTERVAL '3' SECOND) AS w_end, COUNT(*) AS n,
    COUNT(DISTINCT device) AS devices, VAR_POP(hum) AS hum_var, MAX(state) AS state_max
FROM readings
GROUP BY SESSION(ts, INTERVAL '3' SECOND)
