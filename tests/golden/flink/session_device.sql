SELECT device, SESSION_START(ts, INTERVAL '30' SECOND) AS w_start, SESSION_END(ts, INTERVAL '30' SECOND) AS w_end,
    COUNT(*) AS n, MIN(ts) AS first_ts, MAX(ts) AS last_ts, SUM(temp) AS temp_sum, AVG(hum) AS hum_avg,
    MIN(load) AS load_min, COUNT(DISTINCT load) AS loads
FROM readings
GROUP BY device, SESSION(ts, INTERVAL '30' SECOND)
