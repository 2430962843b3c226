SELECT device, TUMBLE_START(ts, INTERVAL '1' MINUTE) AS w_start, FIRST_VALUE(temp) AS temp_first,
    LAST_VALUE(temp) AS temp_last
FROM readings
WHERE temp IS NOT NULL
GROUP BY device, TUMBLE(ts, INTERVAL '1' MINUTE)
