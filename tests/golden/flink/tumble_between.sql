-- Both ends belong to BETWEEN.
SELECT TUMBLE_START(ts, INTERVAL '5' MINUTE) AS w_start, COUNT(*) AS n, MIN(hum) AS hum_min, MAX(hum) AS hum_max,
    COUNT(CASE WHEN load NOT BETWEEN -2 AND 2.5 THEN 1 END) AS extreme
FROM readings
WHERE hum BETWEEN 35.25 AND 50 AND temp BETWEEN -5 AND hum
GROUP BY TUMBLE(ts, INTERVAL '5' MINUTE)
