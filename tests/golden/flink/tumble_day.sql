SELECT site, window_start, COUNT(*) AS n, COUNT(DISTINCT temp) AS temps, SUM(temp) AS temp_sum,
    VAR_POP(temp) AS temp_var, STDDEV_SAMP(hum) AS hum_stddev
FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '1' DAY))
GROUP BY site, window_start, window_end
