SELECT device, HOP_START(ts, INTERVAL '20' SECOND, INTERVAL '1' MINUTE) AS w_start,
    HOP_END(ts, INTERVAL '20' SECOND, INTERVAL '1' MINUTE) AS w_end, COUNT(*) AS n, SUM(temp) AS temp_sum,
    AVG(temp) AS temp_avg, MIN(temp) AS temp_min, MAX(hum) AS hum_max, STDDEV_POP(hum) AS hum_stddev
FROM readings
GROUP BY device, HOP(ts, INTERVAL '20' SECOND, INTERVAL '1' MINUTE)
