SELECT device, TUMBLE_START(ts, INTERVAL '1' MINUTE) AS w_start, TUMBLE_END(ts, INTERVAL '1' MINUTE) AS w_end,
    SUM(temp) AS temp_sum, AVG(temp) AS temp_avg, MIN(temp) AS temp_min, MAX(temp) AS temp_max,
    SUM(load) AS load_sum, AVG(load) AS load_avg, MIN(load) AS load_min, MAX(load) AS load_max
FROM readings
GROUP BY device, TUMBLE(ts, INTERVAL '1' MINUTE)
