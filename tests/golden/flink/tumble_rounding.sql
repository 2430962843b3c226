SELECT device, TUMBLE_START(ts, INTERVAL '1' MINUTE) AS w_start,
    ROUND(MIN(temp), 1) AS temp_tenth, ROUND(MAX(temp)) AS temp_round, ROUND(MIN(temp), -1) AS temp_ten,
    FLOOR(MIN(temp)) AS temp_floor, CEIL(MIN(temp)) AS temp_ceil, ABS(MIN(temp)) AS temp_abs,
    ROUND(MIN(load)) AS load_round, FLOOR(MIN(load)) AS load_floor, CEIL(MIN(load)) AS load_ceil,
    SUM(ROUND(hum)) AS hum_sum, MAX(ROUND(hum, -1)) AS hum_ten
FROM readings
GROUP BY device, TUMBLE(ts, INTERVAL '1' MINUTE)
