-- NULL is a key as good as any.
SELECT site, FLOOR(temp / 10) AS decade, TUMBLE_START(ts, INTERVAL '5' MINUTE) AS w_start, COUNT(*) AS n,
    SUM(temp) AS temp_sum
FROM readings
GROUP BY site, FLOOR(temp / 10), TUMBLE(ts, INTERVAL '5' MINUTE)
